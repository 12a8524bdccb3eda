"""Image and text features of a task, embedded once per model and preset."""
