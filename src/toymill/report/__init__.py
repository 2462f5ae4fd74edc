"""What is shown of a study, from its summary alone."""
