"""The OpenFlow side: listener, channel, session, codec, packet-in worker, the process with the tables.

- `listener`: who may connect; `refusals`: who may not, and how long; `tls`: certificates. `channel`: one connection.
- `session`: what is said to one switch; `conversation`: questions, answers and time-outs; `inbox`: answers that wait;
  `sent_steps`: which step an error is about; `places`: how many switches at a time.
- `port_table`: a switch's ports. `packet_in`: packets that it hands up.
- `tables_process`: the loop's end of the process with the tables; `tables_worker`: that process. `codec`: values and
  messages.
"""
