"""Where bytes live: one protocol per verb (`base`), stores, wrappers, and `open_store`."""
