"""From files to files: runs that go on, clusters, quality without ground truth."""
