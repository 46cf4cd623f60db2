"""Who does the work: unit functions, local movers, and the coordinator that hands out units."""
