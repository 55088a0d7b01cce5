"""One variant of every family with trials short enough to be played through, and how long its episodes are."""

SHORT = {
    "bandit": "bandit:k=3,n=4",
    "contextual_bandit": "contextual_bandit:episodes=2",
    "gridnavi": "gridnavi:episodes=2",
    "darkroom": "darkroom:variant=ad,episodes=2",
    "tabular_mdp": "tabular_mdp:n=2",
    "point_nav": "point_nav:episodes=2",
    "sparse_point": "sparse_point:episodes=2",
    "minigrid": "minigrid:steps=4",
    "metaworld": "metaworld:episodes=2,steps=4",
    "cheetah_vel": "cheetah_vel:episodes=2,steps=10",
    "cheetah_dir": "cheetah_dir:episodes=2,steps=10",
    "ant_dir": "ant_dir:episodes=2,steps=10",
    "ant_goal": "ant_goal:episodes=2,steps=10",
    "walker_params": "walker_params:episodes=2,steps=10",
    "gym": "gym:vary=length=0.4..0.8,shift=length=0.8..1.6,episodes=2,steps=6",
}
LENGTHS = {
    "bandit": 1,
    "contextual_bandit": 10,
    "gridnavi": 15,
    "darkroom": 20,
    "tabular_mdp": 10,
    "point_nav": 100,
    "sparse_point": 20,
    "minigrid": 4,
    "metaworld": 4,
    "cheetah_vel": 10,
    "cheetah_dir": 10,
    "ant_dir": 10,
    "ant_goal": 10,
    "walker_params": 10,
    "gym": 6,
}
"""Steps of an episode; on point_nav, minigrid and gym, of one that does not end early."""
