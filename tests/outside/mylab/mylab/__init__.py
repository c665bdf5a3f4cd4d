"""Networks, holes, data, a loss, a metric and a learning rule that restore does not have."""
