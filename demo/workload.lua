-- Exercises the parts of Lua that call most: the parser, tables, strings,
-- closures, coroutines, errors (longjmp inside) and the collector. The output
-- is the same in every run.

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print("fib", fib(20))

local words = {}
for word in ([[the quick brown fox jumps over the lazy dog]]):gmatch("%a+") do
  words[#words + 1] = word
end
table.sort(words)
print("words", table.concat(words, " "))

local primes, composite = {}, {}
for i = 2, 10000 do
  if not composite[i] then
    primes[#primes + 1] = i
    for j = i * i, 10000, i do composite[j] = true end
  end
end
print("primes", #primes, primes[#primes])

local generator = coroutine.wrap(function()
  for i = 1, 1000 do coroutine.yield(i * i) end
end)
local sum = 0
for _ = 1, 1000 do sum = sum + generator() end
print("squares", sum)

local failures = 0
for i = 1, 1000 do
  local ok, message = pcall(function() if i % 2 == 0 then error("even " .. i) end end)
  if not ok and message:find("even") then failures = failures + 1 end
end
print("errors caught", failures)

local chunk = assert(load("local t = {} for i = 1, 100 do t[i] = tostring(i) end return #table.concat(t)"))
print("loaded", chunk())

collectgarbage()
print("done")
