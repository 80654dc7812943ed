"""Rules on runs, and how their alerts are delivered."""
