"""The validated study: what a configuration file may say, and what is known of its model before any job starts."""
