/* JSON, read where it stands: a value is a pointer to its first character. Only what the set has: strings without
   escapes, neither true nor false. `skip` proves that a text is JSON, and what is read of it afterwards relies on that.

   Whoever includes this defines fail(format, ...), which does not return, and allocate(count, size). */

static const char *start;  /* of the text, for complaints */

static const char *blank(const char *p) { return p + strspn(p, " \t\r\n"); }

static const char *past(const char *p, char expected)
{
    if (*p != expected) fail("not JSON at byte %ld: no %c", (long)(p - start), expected);
    return blank(p + 1);
}

static const char *skip(const char *p)
{
    char *end;
    const size_t digits = strspn(p, "+-.0123456789eE");
    if (*p == '"') return p += 1 + strcspn(p + 1, "\"\\\n"), past(p, '"');
    if (*p == '{' || *p == '[') {
        const char open = *p, close = open == '{' ? '}' : ']';
        p = blank(p + 1);
        if (*p == close) return past(p, close);
        for (;; p = past(p, ',')) {
            if (open == '{') p = past(*p == '"' ? skip(p) : p, ':');
            p = skip(p);
            if (*p == close) return past(p, close);
        }
    }
    if (strncmp(p, "null", 4) == 0) return blank(p + 4);
    strtod(p, &end);
    if (digits == 0 || *p == '+' || *p == '.' || end != p + digits) fail("not JSON at byte %ld", (long)(p - start));
    return blank(end);
}

static const char *first(const char *p) { return p = blank(p + 1), *p == ']' || *p == '}' ? NULL : p; }

static const char *following(const char *p) { return p = skip(p), *p == ',' ? blank(p + 1) : NULL; }

static bool is(const char *p, const char *text)
{
    return *p == '"' && strncmp(p + 1, text, strlen(text)) == 0 && p[1 + strlen(text)] == '"';
}

static const char *string(const char *p)
{
    const size_t length = strcspn(p + 1, "\"");
    return memcpy(allocate((long)length, 1), p + 1, length);
}

static const char *find(const char *object, const char *key)  /* NULL if it is not there */
{
    for (const char *p = *object == '{' ? first(object) : NULL; p; p = following(past(skip(p), ':')))
        if (is(p, key)) return past(skip(p), ':');
    return NULL;
}

static const char *get(const char *object, const char *key, const char *beginnings)
{
    const char *p = find(object, key);
    if (!p || !strchr(beginnings, *p)) fail("\"%s\" is missing or of the wrong kind", key);
    return p;
}

static double number(const char *object, const char *key) { return strtod(get(object, key, "-0123456789"), NULL); }

static long length(const char *object, const char *key)
{
    long count = 0;
    for (const char *p = first(get(object, key, "[")); p; p = following(p)) count++;
    return count;
}

static double *list(const char *object, const char *key, long wanted)
{
    const long count = length(object, key);
    double *values = allocate(count, sizeof *values), *next = values;
    if (count != wanted) fail("\"%s\" has %ld entries where %ld belong", key, count, wanted);
    for (const char *p = first(get(object, key, "[")); p; p = following(p), next++) {
        if (is(p, "NaN")) *next = NAN;
        else if (is(p, "Infinity")) *next = INFINITY;
        else if (is(p, "-Infinity")) *next = -INFINITY;
        else if (strchr("-0123456789", *p)) *next = strtod(p, NULL);
        else fail("\"%s\" holds what is no number", key);
    }
    return values;
}

static bool holds(const char *object, const char *key, long number)
{
    for (const char *p = first(get(object, key, "[")); p; p = following(p))
        if (strtod(p, NULL) == (double)number) return true;
    return false;
}
