"""How many frames TheengsDecoder reads a second: python theengs.py FRAMES SECONDS, one JSON object out."""

import json
import sys
import time

from TheengsDecoder import decodeBLE


def line(frame):
    """What the decoder takes: an object with the data of the parts, made ahead so that it costs nothing."""
    _, name, data = frame.split("\t")
    octets = bytes.fromhex(data)
    told = {"id": "A4:C1:38:11:22:33", "rssi": -60, "name": name}
    while octets and len(octets) > octets[0] > 0:
        kind, content = octets[1], octets[2 : octets[0] + 1]
        if kind == 0xFF:
            told["manufacturerdata"] = content.hex()
        elif kind == 0x16:
            told["servicedatauuid"] = f"0x{content[1]:02x}{content[0]:02x}"
            told["servicedata"] = content[2:].hex()
        octets = octets[octets[0] + 1 :]
    return json.dumps(told)


lines = [line(frame) for frame in open(sys.argv[1]).read().splitlines() if not frame.startswith("#")]
read = sum(bool(decodeBLE(line)) for line in lines)
seconds = float(sys.argv[2])
frames, begun = 0, time.perf_counter()
while time.perf_counter() - begun < seconds:
    for _ in range(20):
        for line in lines:
            decodeBLE(line)
    frames += 20 * len(lines)
print(json.dumps({"frames": frames, "seconds": time.perf_counter() - begun, "read": read}))
