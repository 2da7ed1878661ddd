"""Files: reading of cubes, writing that leaves nothing half done."""
