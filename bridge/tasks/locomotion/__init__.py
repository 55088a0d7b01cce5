"""Robots of MuJoCo that run: half-cheetah, ant and walker, whose tasks are goals, directions, speeds or bodies."""
