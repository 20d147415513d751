"""Fetch the raw pages of the Order API into the dump, as they were received.

`api` makes requests, `pace` says when, `window` is what a run date means, `pages` reads the pages
of a slice, `store` writes objects and the manifest, `check` proves that nothing is missing, and
`fetch_date` puts them in their order.
"""
