"""Pictures of weight pairs and of how their blobs form; matplotlib is loaded at first use."""
