# Run in the VM: recordings of Lua and SQLite for the share, complete ones.
set -e
./nopal record -q --graph --buffer 512m -o /share/lua.data -- ./lua workload.lua >/dev/null
./nopal record -q --graph --buffer 512m -o /share/sqlite.data -- ./sqlite3 -batch -init workload.sql :memory: "" >/dev/null
