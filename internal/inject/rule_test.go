package inject

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"nopal/internal/args"
)

func TestRules(t *testing.T) {
	integer := func(v int64) Value { return Value{Kind: Integer, Bits: uint64(v), Below: v < 0, Float: float64(v)} }
	for text, want := range map[string]Rule{
		"malloc: return NULL errno ENOMEM every 10": {Return: integer(0), Errno: 12, Every: 10, Action: "return NULL errno ENOMEM"},
		"write: return -1 errno 5 if arg1==2 && arg3 > 4096 count 3": {
			Return: integer(-1), Errno: 5, Count: 3, Action: "return -1 errno 5"},
		"f: return 0x10":               {Return: integer(16), Action: "return 0x10"},
		"f: return":                    {Return: Value{Kind: Nothing}, Action: "return"},
		"f: return every 2":            {Return: Value{Kind: Nothing}, Every: 2, Action: "return"},
		"f: return zero":               {Return: Value{Kind: Zero}, Action: "return zero"},
		"f: return -1.5e3":             {Return: Value{Kind: Float, Float: -1500}, Action: "return -1.5e3"},
		"a::b(int, char): delay 5ms":   {Delay: 5 * time.Millisecond, Action: "delay 5ms"},
		"lib.so:f: delay 1s, return 1": {Delay: time.Second, Return: integer(1), Action: "delay 1s return 1"},
		"f: set arg1=5 set fparg1 = 2.5 set n=zero prob 25%": {
			Set:  []Assignment{{"arg1", integer(5)}, {"fparg1", Value{Kind: Float, Float: 2.5}}, {"n", Value{Kind: Zero}}},
			Prob: 0.25, Action: "set arg1=5 set fparg1 = 2.5 set n=zero"},
		"f: after 3 return 0 prob 0.5 caller g*": {After: 3, Return: integer(0), Prob: 0.5, Action: "return 0"},
		"f: return 1 if count > 3 count 2":       {Return: integer(1), Count: 2, Action: "return 1"},
		"f: return 1 if arg1 == ':' prob 0":      {Return: integer(1), Action: "return 1"},
	} {
		got, err := ParseRule(text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		got.Return.Text = ""
		for i := range got.Set {
			got.Set[i].Value.Text = ""
		}
		prob := got.Prob
		if math.IsNaN(prob) || strings.HasSuffix(text, "prob 0") {
			prob = 0
		}
		if got.Return != want.Return || got.Errno != want.Errno || got.Delay != want.Delay || got.Every != want.Every || got.After != want.After ||
			got.Count != want.Count || prob != want.Prob || got.Action != want.Action || len(got.Set) != len(want.Set) {
			t.Errorf("%s: %+v", text, got)
		}
		for i := range got.Set {
			if got.Set[i] != want.Set[i] {
				t.Errorf("%s: sets %+v", text, got.Set[i])
			}
		}
		if (got.If != nil) != strings.Contains(text, " if ") || (got.Caller != nil) != strings.Contains(text, " caller ") {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestBadRules(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		says   string
	}{
		{"", 0, "nothing is said"},
		{"malloc", 6, "nothing is said"},
		{"malloc:return 0", 15, "nothing is said"},
		{"malloc: every 3", 7, "nothing is said"},
		{"malloc: fail", 8, "none of"},
		{"f: return x", 10, "no value"},
		{"f: return 0x", 10, "no value"},
		{"f: return -", 10, "no value"},
		{"f: return nan", 10, "no value"},
		{"f: return 1 return 2", 12, "twice"},
		{"f: return 1 errno EOOPS", 18, "no error"},
		{"f: return 1 errno 0", 18, "no error"},
		{"f: return 1 errno 4096", 18, "no error"},
		{"f: errno EIO", 2, "errno goes with return"},
		{"f: delay 5", 9, "no time"},
		{"f: delay -5s", 9, "no time"},
		{"f: delay 100h", 9, "no time"},
		{"f: set arg1", 7, "set arg1=VALUE"},
		{"f: set arg1=q", 7, "no value"},
		{"f: set =1", 7, "set arg1=VALUE"},
		{"f: set arg1=1 set arg1=2", 18, "set twice"},
		{"f: set arg1=1 return 2", 2, "exclude"},
		{"f: return 1 every 0", 18, "from 1 up"},
		{"f: return 1 every -2", 18, "from 1 up"},
		{"f: return 1 prob 2", 17, "probability"},
		{"f: return 1 prob NaN", 17, "probability"},
		{"f: return 1 if", 14, "missing"},
		{"f: return 1 if arg1 = 3", 20, "none of"},
		{"f: return 1 if ret < 0", 2, "no result"},
		{"f: return 1 caller", 18, "caller of which"},
	} {
		_, err := ParseRule(c.text)
		var bad *args.SyntaxError
		if !errors.As(err, &bad) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if bad.Offset != c.offset || !strings.Contains(bad.Problem, c.says) {
			t.Errorf("%q: at %d: %s", c.text, bad.Offset, bad.Problem)
		}
	}
	for text, says := range map[string]string{
		": return 1":            "no function name",
		"!f: return 1":          "leaves functions out",
		"f[: return 1":          "has no ]",
		"f: return 1 caller g[": "has no ]",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadRules(t *testing.T) {
	list, err := ReadRules(strings.NewReader("# all\n\n  f: return 1 # one\ng#h: return 2 if arg1 == '#'\n"), "rules")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if list[0].Text != "f: return 1" || list[0].Where != "rules:3" || list[1].Text != "g#h: return 2 if arg1 == '#'" {
		t.Errorf("%+v %+v", list[0], list[1])
	}
	if _, err := ReadRules(strings.NewReader("f: return 1\n\nf: return q\n"), "dir/rules"); err == nil || !strings.HasPrefix(err.Error(), "dir/rules:3: ") {
		t.Errorf("%v", err)
	}
	if _, err := ReadRules(strings.NewReader(strings.Repeat("x", maxRuleLine+1)), "rules"); err == nil {
		t.Error("a line without end")
	}
}

func TestErrnos(t *testing.T) {
	for name, want := range map[string]int{"EPERM": 1, "EIO": 5, "EDEADLK": 35, "ENOMSG": 42, "EBFONT": 59, "EOPNOTSUPP": 95, "ENOTSUP": 95, "EHWPOISON": 133, "EWOULDBLOCK": 11, "4095": 4095} {
		if n, ok := errnoNumber(name); !ok || n != want {
			t.Errorf("%s: %d", name, n)
		}
	}
	for _, name := range []string{"", "-", "EFOO", "0", "-1"} {
		if _, ok := errnoNumber(name); ok {
			t.Errorf("%q is taken", name)
		}
	}
}

func FuzzRule(f *testing.F) {
	for _, text := range []string{"malloc: return NULL errno ENOMEM every 10", "w: delay 5ms if arg1==2 && arg3 > 4 count 3", "f: set fparg1 = 2.5 prob 25% caller g"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			_ = err.Error()
		} else if r.Action == "" || r.Functions == nil {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
