"""What everything else stands on: errors, the command line, files, devices, metrics. Imports nothing of ours."""
