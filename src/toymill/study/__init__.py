"""What a job does: describe, throw, fit, aggregate."""
