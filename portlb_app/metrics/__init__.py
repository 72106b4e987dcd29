"""Prometheus metrics of the controller: one table says which there are, one collector reads what REST tells from.

- `table`: name, type, labels and meaning of each. `tally`: what happens in the controller, counted.
- `of_controller`, `of_switches`, `of_servers`, `of_pools`: the values. `exposition`: the text.
- `alerts`, `dashboard`: what is shipped for Prometheus and Grafana, made from the table.

Pure: time is an argument.
"""
