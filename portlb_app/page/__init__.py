"""The page: what the REST interface tells, as HTML for browsers. Pure: a snapshot in, HTML out.

The server makes every page whole, so all of it works without JavaScript. With it, `page.js` follows ``GET /v1/events``,
asks for the same page again when something has happened, and shows what of it has changed.

- `routes`: the paths. `rendering`: the templates. `frame`: what every page has.
- `troubles`: what is wrong, which comes first. `overview`, `pool`, `network`, `events`, `server`: a file a page.
- `picture_of_slots`, `picture_of_network`: pictures as numbers; the templates make SVG of them.
- `actions`: forms. The first POST shows what would happen; the second one, from there, has it done.
"""
