"""What somebody asked for and a worker does: kept in the store, taken up again when its worker died."""
