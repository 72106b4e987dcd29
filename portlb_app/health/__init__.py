"""Health checks: whether servers work, found out by packets. Pure: time, chance and frames are arguments.

- `probe`: one check as packets; `tcp` (with `http`), `datagrams`: its kinds.
- `targets`: who is checked, how, and by which way. `judgement`: from results to "up" and "down". `hold`: whether it is
  the checker that fails. `checker`: the schedule, and all of it together.
"""
