"""One file a task, each with `TASK` or `TASKS`; a new file here is a new task."""
