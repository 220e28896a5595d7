"""`interp explore`: pages over one home. The lake and the warehouse are read where they lie; nothing is written but ratings and notes.

A request goes one way: `guard.py` (who may ask) → `pages/<page>.py` (reads, and names the template) → `templates/<page>.html`. A page
reads from three places: `reading/feature_rows.py` (all rows of one feature, a few row groups), `columns.py` (one number a feature of a
whole dictionary, prepared once for each state of the lake) and `Warehouse.query` (SQL). `charts.py` draws SVG, `shading.py` shades tokens.

How a page is added:

1. Write `pages/<page>.py` with `ROUTES`, a tuple of Starlette routes, and a plain function (not `async`) a route: it runs in a thread. The
   function takes the request, reads through `explorer_of(request)`, and returns `page(request, "<page>.html", **values)`; `not_found`,
   `refused` and `waiting` raise a page that says why. Add the module to `PAGES` in `pages/__init__.py`. A page that reads is a GET.
2. Write `templates/<page>.html`, which begins with `{% extends "base.html" %}`. Every value is escaped; `|safe` is for SVG alone.
   The Content-Security-Policy allows neither scripts nor styles in the page: no `style=`, no `onclick=`, no `<script>` with text. Programs
   are files of `static/`, styles are classes of `static/style.css`.
3. Every address is made in `links.py`, and begins with `/`: the static export rewrites addresses by that.
4. A page works without programs. `static/explorer.js` adds what a keyboard and a pointer need, by `data-` attributes.
5. Test it in `tests/explorer/`: the fixture `client` asks the pages of a small home. `test_hostile_pages.py` opens every page of `PAGES` in
   a browser over a home of hostile texts, by the addresses that `every_address` lists; add the page's addresses there.
"""
