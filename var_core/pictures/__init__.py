"""Pictures to train and to measure on: a folder or zip, one folder per class (`data`), its files (`sources`)."""
