-- Calls many small functions: closures, strings, tables, coroutines, errors (longjmp inside), the collector.
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print("fib", fib(26))
local words = {}
for i = 1, 20000 do words[i] = tostring(i * 7919 % 20011) .. "-" .. (i % 7) end
table.sort(words)
print("words", words[1], words[#words])
local text, count = table.concat(words, " "), 0
for _ in text:gmatch("%d+") do count = count + 1 end
print("numbers", count)
local generator = coroutine.wrap(function() for i = 1, 10000 do coroutine.yield(i * i) end end)
local sum = 0
for _ = 1, 10000 do sum = sum + generator() end
print("squares", sum)
local failures = 0
for i = 1, 10000 do
  local ok = pcall(function() if i % 2 == 0 then error("even " .. i) end end)
  if not ok then failures = failures + 1 end
end
print("errors caught", failures)
for i = 1, 2000 do assert(load("local t = {} for i = 1, 10 do t[i] = tostring(i) end return #table.concat(t)"))() end
collectgarbage()
print("done")
