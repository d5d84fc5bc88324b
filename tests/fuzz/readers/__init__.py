"""A module for each reader: what whole files look like, and how one is read. All are found by their READER."""
