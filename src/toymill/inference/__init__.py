"""Pure functions of fits: test statistics, asymptotics, counting and its errors, information."""
