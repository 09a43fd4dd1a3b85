"""What docker-glue's handlers import, so that they run unchanged: see `longshore_plugin.glue`."""
