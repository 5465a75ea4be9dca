"""The methods and the ingredients that are theirs, by what they are about; no tensor in sight."""
