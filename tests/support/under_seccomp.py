"""Runs a program under a seccomp profile in Docker's format, as a container would: under_seccomp.py PROFILE PROGRAM …"""

import json
import os
import sys

import seccomp

profile = json.load(open(sys.argv[1], encoding="utf-8"))
ACTIONS = {
    "SCMP_ACT_ALLOW": lambda rule: seccomp.ALLOW,
    "SCMP_ACT_ERRNO": lambda rule: seccomp.ERRNO(rule.get("errnoRet", profile["defaultErrnoRet"])),
}
COMPARISONS = {
    "SCMP_CMP_MASKED_EQ": lambda arg: seccomp.Arg(arg["index"], seccomp.MASKED_EQ, arg["value"], arg["valueTwo"]),
}

assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
filter_ = seccomp.SyscallFilter(seccomp.ERRNO(profile["defaultErrnoRet"]))
for rule in profile["syscalls"]:
    for name in rule["names"]:
        # Other machines' calls have no number here; a container's runtime passes over them, too.
        if seccomp.resolve_syscall(seccomp.Arch(), name) < 0:
            continue
        arguments = [COMPARISONS[arg["op"]](arg) for arg in rule.get("args", [])]
        filter_.add_rule(ACTIONS[rule["action"]](rule), name, *arguments)
filter_.load()
os.execv(sys.argv[2], sys.argv[2:])
