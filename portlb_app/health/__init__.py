"""Health checks: whether servers work, found out by packets. Pure: time, chance and frames are arguments.

- `probe`: one check as packets; `tcp` (with `http`), `datagrams`: its kinds.
- `targets`: who is checked, how, and by which way. `line_state`: what is known of one line of checks.
- `checker`: the schedule; `flights`: the checks on their way.
- `results`: what follows from results, and `news`: what is said of servers. `judgement`: from results to "up" and
  "down". `hold`: whether it is the checker that fails; `loops`: whether the way of the answers works.
"""
