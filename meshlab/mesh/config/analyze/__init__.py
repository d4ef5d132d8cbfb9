"""What is probably wrong with a configuration, found without sending a request.

subject.py   one object, where it was read and on which line each part of it stands
scene.py     all of them: services, workloads, rules of both generations
messages.py  codes in the manner of today's istioctl: IST… where it has one for the matter, ML… where it has not
routes.py, hosts.py, objects.py    the checks
run.py       all checks
"""
