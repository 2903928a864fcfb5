"""The predecessor's producer, as it wrote: `python3 legacyProducer.py FOLDER COUNT PREFIX BATCH [PAUSE_S]`.

It makes one locked change of the queue file for every BATCH entries, and pauses after each. It waits for the lock as long
as the old one did, and turns to the emergency lines where it does not get it. Prints one JSON document at the end.
"""
import fcntl
import json
import os
import sys
import time
import uuid

LOCK_TIMEOUT_S = 5.0
folder, count, prefix, batch_size = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
pause_s = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
queue_path = os.path.join(folder, "mem0_queue.json")
emergency_path = os.path.join(folder, "mem0_emergency.json")
lock_path = os.path.join(folder, "mem0_queue.lock")


def take_lock():
    lock = open(lock_path, "w")
    begin = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock, time.monotonic() - begin
        except BlockingIOError:
            if time.monotonic() - begin > LOCK_TIMEOUT_S:
                lock.close()
                return None, LOCK_TIMEOUT_S
            time.sleep(0.005)


def add(entries):
    lock, waited = take_lock()
    if lock is None:
        with open(emergency_path, "a") as emergency:
            for entry in entries:
                emergency.write(json.dumps({**entry, "emergency": True}) + "\n")
        return waited, True
    try:
        try:
            with open(queue_path) as file:
                data = json.load(file)
        except FileNotFoundError:
            data = {"queue": [], "last_100": [], "failed": [],
                    "stats": {"total_queued": 0, "total_synced": 0, "total_failed": 0, "last_sync": None}}
        data["queue"].extend(entries)
        data["last_100"] = (data["last_100"] + entries)[-100:]
        data["stats"]["total_queued"] += len(entries)
        draft = queue_path + ".tmp"
        with open(draft, "w") as file:
            json.dump(data, file, indent=2)
        os.replace(draft, queue_path)
        return waited, False
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        lock.close()


entries = [
    {"id": str(uuid.uuid4()), "project_id": prefix, "content": f"{prefix} {number} \u00e9", "retries": 0,
     "timestamp": int(time.time())}
    for number in range(count)
]
longest, timeouts = 0.0, 0
for start in range(0, count, batch_size):
    waited, timed_out = add(entries[start : start + batch_size])
    longest = max(longest, waited)
    timeouts += timed_out
    time.sleep(pause_s)
print(json.dumps({"ids": [entry["id"] for entry in entries], "longestWaitMs": longest * 1000, "timeouts": timeouts}))
