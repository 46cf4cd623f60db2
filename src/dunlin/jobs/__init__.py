"""ASK: what can be asked for. Each job has frozen options and a function that runs it."""
