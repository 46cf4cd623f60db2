"""Pages for browsers. Today the history of a run, as one file (`history.py`)."""
