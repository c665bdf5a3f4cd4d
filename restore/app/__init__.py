"""`restore app`: models in a browser. `server` starts it, `page` lays it out, `work` restores."""
