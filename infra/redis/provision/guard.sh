#!/bin/sh
# Runs one server for exactly as long as the process lives that started us.
#
#   guard.sh LOCK COMMAND [ARGUMENT…]
#
# Descriptor 3 is a pipe that only our starter holds open. When it closes, because the starter
# stops the server or because it was killed with -9, the server gets SIGTERM and may save.
# LOCK is held (flock) until the server itself is gone, so two servers never write one folder;
# exit code 75 says that somebody holds it. Where flock is missing nothing is locked.
# Otherwise the exit code is the server's.
#
# If this shell is killed, the watching half below still ends the server with the starter.
lock=$1
shift
exec 9>"$lock"
if command -v flock >/dev/null 2>&1 && ! flock -n 9; then exit 75; fi

"$@" 3<&- &
server=$!
{
  read -r _ <&3
  kill -TERM "$server"
} 9>&- 2>/dev/null &
watch=$!
exec 3<&-

wait "$server"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
