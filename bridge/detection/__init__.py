"""Detection: does a trial go worse than training would lead one to expect?"""
