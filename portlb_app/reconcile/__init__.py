"""Brings switches to their target and keeps them there: events in, commands out.

- `reconciler`: the facade; `events` in, `commands` out; `network`, `known_switch`: what all of it knows.
- Configurations: `configuration`; `compilation`, `goal`: what is wanted, compiled; `trials`, `trial`, `outcomes`: those
  that are proposed; `wishes`: overrides.
- Switches: `phases`, `rounds`: each one's round; `rollout`: the order of changes; `ports`, `watch`: ports and links.
- Servers: `adoption`: what a controller takes over; `announced`: what agents may be told; `draining`: drains.
- The process with the tables: `tables`: its jobs; `targets`: what switches shall hold; `reading`: what they tell;
  `plan`: differences; `surplus`: what nobody told them; `results`: what the loop gets back.
- To tell: `status`, `pool_status`, `sentences`.
"""
