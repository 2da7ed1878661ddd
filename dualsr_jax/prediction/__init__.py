"""From cube files to cube files: resumable runs, several scenes, clusters."""
