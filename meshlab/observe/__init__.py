"""What the lab shows of its traffic: Prometheus' numbers, ServiceGraph's picture, Zipkin's traces."""
