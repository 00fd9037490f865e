"""`aurora wargame`: the command, its tables, charts, page, many runs, search and exporter."""
