"""IRL-VLA: a driving policy learned from logs, a learned reward, and PPO against it.

Legend used in every file.

Dimensions
    B batch          C cameras         H history frames (4: -1.5 ... 0 s)
    T plan poses (8: 0.5 ... 4.0 s)    S states of the scoring grid (41: 0 ... 4.0 s, 10 Hz)
    N plans          K anchors         A agents in a frame   M map elements  P polyline points
    L tokens         D channels        X, Y cells of the BEV grid

Frames (`target_from_source` names a transform: `ego_from_global`)
    global   metres, x east, y north (a UTM zone), heading counter-clockwise from x
    ego      rear axle at the present moment, x forward, y left
    camera   x right, y down, z forward

Units are SI (metres, seconds, radians); a name carries another one (`timestamp_us`).
A *plan* is (T, 3): x, y, heading in the ego frame at 2 Hz, without the pose at t = 0.
"""

PLAN_POSES = 8
PLAN_INTERVAL_S = 0.5
HISTORY_FRAMES = 4

__version__ = "0.1.0"
