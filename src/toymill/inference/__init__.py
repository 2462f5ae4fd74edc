"""What fits tell: test statistics, the test of a value, asymptotics, counting and its errors, information."""
