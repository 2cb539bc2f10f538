"""The rules, one folder for each family and one file for each rule."""
