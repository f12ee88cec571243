/* Check the golden set of batch normalization in C99, with libc alone:

       cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror consumer.c -lm -o consumer && ./consumer DATA_DIR

   Exit status 0: every case of the manifest was read and agrees. 1: a line on standard error says what does not.
   DATA_DIR/README.md describes the format. consumer.mjs is the same program, function by function.

   Not judged: policies ("accepted" in bn.errors.json: what a convention does with one value or none), for these are the
   formulas alone; such cases are read and counted. Nor SHA-256, which libc lacks and consumer.mjs verifies. */

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file = "", *id = "";             /* how a complaint begins */
static long cases, policies, numbers[2], equal[2];  /* numbers of float64 [0] and of narrower formats [1] */

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "consumer.c: %s%s%s: ", file, *id ? ": " : "", id);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(long count, size_t size)  /* zeros; given back when the program ends */
{
    void *memory = calloc((size_t)count + 1, size);
    if (!memory) fail("out of memory");
    return memory;
}

#include "json.h"

static const char *text_of(const char *directory, const char *name, long *size)
{
    char path[4096];
    file = name, id = "";
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *stream = fopen(path, "rb");
    if (!stream || fseek(stream, 0, SEEK_END) != 0 || (*size = ftell(stream)) < 0) fail("cannot be read");
    char *text = allocate(*size, 1);
    rewind(stream);
    if (fread(text, 1, (size_t)*size, stream) != (size_t)*size) fail("cannot be read");
    fclose(stream);
    return text;
}

static const char *document(const char *text, long size)
{
    start = text, text = blank(text);
    if (*text != '{' || skip(text) != start + size) fail("not JSON: not one object and no more");
    return text;
}

/* Formats: rounded once, to nearest, ties to even. */

struct format { const char *name; int digits, lowest; double largest; };  /* lowest: exponent of the smallest number */

struct formats { const struct format *x, *parameters; };

static const struct format FORMATS[] = {{"float64", 53, -1074, DBL_MAX}, {"float32", 24, -149, FLT_MAX},
                                        {"float16", 11, -24, 65504}, {"bfloat16", 8, -133, 0x1.fep127}};

static const struct format *format_of(const char *object, const char *key)
{
    const char *name = get(object, key, "\"");
    for (int k = 0; k < 4; k++)
        if (is(name, FORMATS[k].name)) return &FORMATS[k];
    fail("\"%s\" is no format", key);
    return NULL;
}

static double to_format(double v, const struct format *format)
{
    int exponent;  /* |v| < 2^exponent: so the last digit is worth 2^(exponent - digits) */
    if (format->digits == 53 || !isfinite(v)) return v;
    if (format->digits == 24) return (float)v;
    frexp(v, &exponent);
    exponent -= format->digits;
    const double last = ldexp(1, exponent > format->lowest ? exponent : format->lowest);
    const double rounded = rint(v / last) * last;  /* powers of two scale exactly; rint takes ties to even */
    return fabs(rounded) > format->largest ? copysign(INFINITY, v) : rounded;
}

/* Arithmetic that carries its error: the exact number is at most `bound` from `value`, whatever was rounded on the way.
   A rounding adds u |result| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 2.2; this
   method is section 3.3), and * and / add TINY, as they may underflow. U is u = 2^-53 and a thousandth of it, for the
   roundings of the bounds themselves: a sum of n of them loses n u, here below 10^-10. */

#define U (1.001 * DBL_EPSILON / 2)
#define TINY (DBL_MIN * DBL_EPSILON)

typedef struct { double value, bound; } near;

static near exact(double v) { return (near){v, 0}; }

static near rounded(double v, double bound) { return (near){v, bound + U * fabs(v)}; }

static near plus(near a, near b) { return rounded(a.value + b.value, a.bound + b.bound); }

static near minus(near a, near b) { return rounded(a.value - b.value, a.bound + b.bound); }

static near times(near a, near b)
{
    return rounded(a.value * b.value, fabs(a.value) * b.bound + a.bound * (fabs(b.value) + b.bound) + TINY);
}

static near over(near a, double count) { return rounded(a.value / count, a.bound / count + TINY); }

static near inverse_root(near a)  /* a relative change of a by t <= 1/2 changes 1/sqrt(a) by at most t */
{
    const double v = 1 / sqrt(a.value), t = a.bound / a.value;
    return rounded(v, t <= 0.5 ? v * (t + 2 * U) : INFINITY);
}

/* Batch normalization. */

struct channel {
    double gamma, beta, centre, count;  /* the mean is centre + shift */
    near shift, mean, var, inv_std, dgamma, dbeta, running_mean, running_var[2];  /* [correction] */
    double ddgamma, ddbeta;
    near mean_ddx, mean_ddx_x_hat, mean_ddx_rest, double_dgamma;  /* rest: what remains of dy */
};

struct shard { near mean, var, dgamma, dbeta; };  /* of one channel */

struct batch_norm {
    long rank, shape[5], channels, positions, size;  /* samples * channels * positions = size, row by row */
    const double *x, *dy, *ddx, *where;              /* where: 1 if a value counts; NULL if all do */
    long shards;
    const double *samples;  /* of each shard */
    struct shard *of_shard; /* shard by shard, a channel each */
    bool frozen, twice;  /* the statistics are constants; double backward */
    struct channel *of;
};

static struct channel *channel(const struct batch_norm *b, long k) { return &b->of[k / b->positions % b->channels]; }

static bool counts(const struct batch_norm *b, long k) { return !b->where || b->where[k] == 1; }

/* Take the moments of elements about a centre near the mean: right for any centre, and next to nothing cancels. */
static void take_moments(struct batch_norm *b, long from, long to)
{
    for (struct channel *c = b->of; c < b->of + b->channels; c++)
        c->centre = c->count = 0, c->shift = c->var = exact(0);
    for (long k = from; k < to; k++) channel(b, k)->count += counts(b, k);
    for (long k = from; k < to; k++)
        if (counts(b, k)) channel(b, k)->centre += b->x[k] / channel(b, k)->count;
    for (long k = from; k < to; k++) {
        if (!counts(b, k)) continue;
        struct channel *c = channel(b, k);
        const near d = minus(exact(b->x[k]), exact(c->centre));
        c->shift = plus(c->shift, d);
        c->var = plus(c->var, times(d, d));
    }
    for (struct channel *c = b->of; c < b->of + b->channels; c++) {
        if (c->count == 0 && b->shards) continue;  /* the mean of no value is asked for nowhere */
        c->shift = over(c->shift, c->count);
        c->mean = plus(exact(c->centre), c->shift);
        c->var = minus(over(c->var, c->count), times(c->shift, c->shift));
    }
}

/* Merge moments with those of other values (Chan, Golub & LeVeque 1983): what is not of the whole is not looked at. */
static void merge(struct channel *whole, const struct channel *c)
{
    const double count = whole->count + c->count;
    if (c->count == 0) return;
    const near here = over(exact(whole->count), count), there = over(exact(c->count), count);
    const near delta = minus(c->mean, whole->mean), spread = times(times(here, there), times(delta, delta));
    whole->mean = plus(whole->mean, times(there, delta));
    whole->var = plus(plus(times(here, whole->var), times(there, c->var)), spread);
    whole->count = count;
}

static void merge_shards(struct batch_norm *b)
{
    struct channel *whole = allocate(b->channels, sizeof *whole);
    long from = 0;
    for (long s = 0; s < b->shards; s++) {
        const long to = from + (long)b->samples[s] * b->channels * b->positions;
        if (!(b->samples[s] >= 0 && to <= b->size)) fail("a shard of %g samples", b->samples[s]);
        take_moments(b, from, to);
        for (long c = 0; c < b->channels; c++) {
            b->of_shard[s * b->channels + c] = (struct shard){.mean = b->of[c].mean, .var = b->of[c].var};
            merge(&whole[c], &b->of[c]);
        }
        from = to;
    }
    if (from != b->size) fail("the shards are not the batch");
    for (long c = 0; c < b->channels; c++) {
        struct channel *of = &b->of[c];
        of->count = whole[c].count, of->mean = whole[c].mean, of->var = whole[c].var;
        of->centre = of->mean.value, of->shift = (near){0, of->mean.bound};
    }
}

static struct shard *shard(const struct batch_norm *b, long k)  /* that an element is in, at its channel */
{
    double rest = (double)(k / (b->channels * b->positions));
    long s = 0;
    while (rest >= b->samples[s]) rest -= b->samples[s++];
    return &b->of_shard[s * b->channels + (channel(b, k) - b->of)];
}

static near x_hat(const struct batch_norm *b, long k)
{
    const struct channel *c = channel(b, k);
    return times(minus(minus(exact(b->x[k]), exact(c->centre)), c->shift), c->inv_std);
}

static near y(const struct batch_norm *b, long k)
{
    if (!counts(b, k)) return exact(0);
    return plus(times(exact(channel(b, k)->gamma), x_hat(b, k)), exact(channel(b, k)->beta));
}

static void take_gradients(struct batch_norm *b)  /* of sum(dy * y) */
{
    for (long k = 0; k < b->size; k++) {
        if (!counts(b, k)) continue;
        struct channel *c = channel(b, k);
        const near dy = exact(b->dy[k]), product = times(dy, x_hat(b, k));
        if (b->shards) {
            struct shard *own = shard(b, k);
            own->dgamma = plus(own->dgamma, product), own->dbeta = plus(own->dbeta, dy);
        } else {
            c->dgamma = plus(c->dgamma, product), c->dbeta = plus(c->dbeta, dy);
        }
    }
    for (long k = 0; k < b->shards * b->channels; k++) {
        struct channel *c = &b->of[k % b->channels];
        c->dgamma = plus(c->dgamma, b->of_shard[k].dgamma), c->dbeta = plus(c->dbeta, b->of_shard[k].dbeta);
    }
}

static near dx(const struct batch_norm *b, long k)
{
    const struct channel *c = channel(b, k);
    const near slope = times(exact(c->gamma), c->inv_std), dy = exact(b->dy[k]);
    if (!counts(b, k)) return exact(0);
    if (b->frozen) return times(slope, dy);
    return times(slope, minus(minus(dy, over(c->dbeta, c->count)), times(x_hat(b, k), over(c->dgamma, c->count))));
}

/* Second order. The direction of x, gamma and beta is (ddx, ddgamma, ddbeta), in a jvp as well. */

static near rest(const struct batch_norm *b, long k, double v, near mean, near mean_x_hat)  /* after both means */
{
    return b->frozen ? exact(v) : minus(minus(exact(v), mean), times(x_hat(b, k), mean_x_hat));
}

static near rest_of_dy(const struct batch_norm *b, long k)
{
    const struct channel *c = channel(b, k);
    return rest(b, k, b->dy[k], over(c->dbeta, c->count), over(c->dgamma, c->count));
}

static near rest_of_ddx(const struct batch_norm *b, long k)
{
    return rest(b, k, b->ddx[k], channel(b, k)->mean_ddx, channel(b, k)->mean_ddx_x_hat);
}

static void take_second_order(struct batch_norm *b)
{
    for (long k = 0; k < b->size; k++) {
        struct channel *c = channel(b, k);
        const near ddx = exact(b->ddx[k]), product = times(ddx, rest_of_dy(b, k));
        c->mean_ddx = plus(c->mean_ddx, over(ddx, c->count));
        c->mean_ddx_x_hat = plus(c->mean_ddx_x_hat, over(times(ddx, x_hat(b, k)), c->count));
        c->mean_ddx_rest = plus(c->mean_ddx_rest, over(product, c->count));
        c->double_dgamma = plus(c->double_dgamma, times(product, c->inv_std));
    }
}

static near jvp(const struct batch_norm *b, long k)
{
    const struct channel *c = channel(b, k);
    const near slope = times(exact(c->gamma), c->inv_std);
    return plus(plus(times(slope, rest_of_ddx(b, k)), times(exact(c->ddgamma), x_hat(b, k))), exact(c->ddbeta));
}

static near double_dx(const struct batch_norm *b, long k)
{
    const struct channel *c = channel(b, k);
    const near of_dy = rest_of_dy(b, k), direct = times(exact(c->ddgamma), of_dy);
    if (b->frozen) return times(direct, c->inv_std);
    const near first = times(c->mean_ddx_x_hat, of_dy), third = times(c->mean_ddx_rest, x_hat(b, k));
    const near second = times(over(c->dgamma, c->count), rest_of_ddx(b, k));
    const near crossed = times(times(exact(c->gamma), c->inv_std), plus(plus(first, second), third));
    return times(minus(direct, crossed), c->inv_std);
}

static near blend(near old, near new, double momentum)
{
    return plus(times(minus(exact(1), exact(momentum)), old), times(exact(momentum), new));
}

static near corrected(const struct channel *c, int correction)
{
    return times(c->var, over(exact(c->count), c->count - correction));
}

static void update_running(struct batch_norm *b, double momentum)
{
    for (struct channel *c = b->of; c < b->of + b->channels; c++) {
        c->running_mean = blend(c->running_mean, c->mean, momentum);
        for (int correction = 0; correction < 2; correction++)
            c->running_var[correction] = blend(c->running_var[correction], corrected(c, correction), momentum);
    }
}

static near result(const struct batch_norm *b, const char *name, long k)
{
    if (strcmp(name, "y") == 0) return y(b, k);
    if (strcmp(name, "dy") == 0 || strcmp(name, "ddy") == 0) return jvp(b, k);
    if (strcmp(name, "dx") == 0 && b->twice) return double_dx(b, k);
    if (strcmp(name, "dgamma") == 0 && b->twice) return b->of[k].double_dgamma;
    if (strcmp(name, "dx") == 0) return dx(b, k);
    if (strcmp(name, "mean") == 0) return b->of[k].mean;
    if (strcmp(name, "var") == 0) return b->of[k].var;
    if (strcmp(name, "dgamma") == 0) return b->of[k].dgamma;
    if (strcmp(name, "dbeta") == 0) return b->of[k].dbeta;
    if (strcmp(name, "count") == 0) return exact(b->of[k].count);
    if (strcmp(name, "var_correction_1") == 0) return corrected(&b->of[k], 1);
    if (strcmp(name, "shard_mean") == 0) return b->of_shard[k].mean;
    if (strcmp(name, "shard_var") == 0) return b->of_shard[k].var;
    if (strcmp(name, "shard_dgamma") == 0) return b->of_shard[k].dgamma;
    if (strcmp(name, "shard_dbeta") == 0) return b->of_shard[k].dbeta;
    if (strcmp(name, "running_mean") == 0) return b->of[k].running_mean;
    return b->of[k].running_var[strcmp(name, "running_var_correction_1") == 0];
}

/* The set: how tensors are read or built, and results compared. */

enum { MOST = 6 };

static const char *const RESULTS[][MOST + 2] = {
    {"training", "y", "mean", "var"},
    {"backward", "dx", "dgamma", "dbeta"},
    {"running", "running_mean", "running_var_correction_0", "running_var_correction_1"},
    {"inference", "y", NULL, NULL},
    {"frozen", "dx", "dgamma", "dbeta"},
    {"jvp", "dy", NULL, NULL},
    {"double_backward", "ddy", "dx", "dgamma"},
    {"frozen_jvp", "dy", NULL, NULL},
    {"frozen_double_backward", "ddy", "dx", "dgamma"},
    {"masked_training", "y", "mean", "var", "var_correction_1", "count"},
    {"masked_backward", "dx", "dgamma", "dbeta"},
    {"sharded_training", "y", "mean", "var", "var_correction_1", "shard_mean", "shard_var"},
    {"sharded_backward", "dx", "dgamma", "dbeta", "shard_dgamma", "shard_dbeta"},
};

enum { OPERATIONS = sizeof RESULTS / sizeof *RESULTS };

static bool is_like_x(const char *result)
{
    static const char *const NAMES[] = {"y", "dx", "dy", "ddy"};
    for (int j = 0; j < 4; j++)
        if (strcmp(result, NAMES[j]) == 0) return true;
    return false;
}

static double uniform(long k, uint32_t seed)
{
    uint32_t h = (uint32_t)k + seed * 0x9E3779B9u;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return ((double)((h ^ h >> 16) >> 16) - 32768) / 32768;
}

static double *built(const char *rule, const struct batch_norm *b)
{
    const char *name = get(rule, "name", "\"");
    const uint32_t seed = (uint32_t)(int64_t)number(rule, "seed");
    const long half = b->size / 2;
    double *x = allocate(b->size, sizeof *x);
    if (is(name, "hash")) {
        const double *scale = list(rule, "scale", b->channels), *offset = list(rule, "offset", b->channels);
        const char *add = get(rule, "add", "{");
        const long added = length(add, "at");
        const double *at = list(add, "at", added), *value = list(add, "value", added);
        for (long k = 0; k < b->size; k++) {
            const long c = channel(b, k) - b->of;
            x[k] = scale[c] * uniform(k, seed) + offset[c];
        }
        for (long j = 0; j < added; j++)
            if (at[j] >= 0 && at[j] < (double)b->size) x[(long)at[j]] += value[j];
    } else if (is(name, "mirrored")) {
        const double *centre = list(rule, "centre", b->channels);
        for (long k = 0; k < half; k++) {
            const double q = rint(4 * uniform(k, seed)) / 4 * (4 * (k % b->positions) >= 3 * b->positions ? 2 : 1);
            x[k] = centre[channel(b, k) - b->of] + q;
            x[k + half] = centre[channel(b, k) - b->of] - q;
        }
    } else if (is(name, "quarters")) {
        for (long k = 0; k < b->size; k++) x[k] = rint(4 * (uniform(k, seed) + 0.25)) / 256;
    } else {
        fail("an unknown rule");
    }
    return x;
}

static long size_of(const char *tensor, const struct batch_norm *b, bool like_x)  /* else a number per channel */
{
    const double *shape = list(tensor, "shape", like_x ? b->rank : 1);
    for (long a = 0; a < (like_x ? b->rank : 1); a++)
        if (shape[a] != (double)b->shape[like_x ? a : 1]) fail("a tensor has %g on axis %ld", shape[a], a);
    return like_x ? b->size : b->channels;
}

static long size_by_shard(const char *tensor, const struct batch_norm *b)
{
    const double *shape = list(tensor, "shape", 2);
    if (shape[0] != (double)b->shards || shape[1] != (double)b->channels) fail("of %g shards", shape[0]);
    return b->shards * b->channels;
}

static double *values_of(const char *tensor, const struct batch_norm *b, bool like_x, const struct format *format)
{
    const long size = size_of(tensor, b, like_x);
    const char *rule = find(tensor, "rule");
    double *values = rule ? built(rule, b) : list(tensor, "data", size);
    for (long k = 0; k < size; k++) {
        if (rule) values[k] = to_format(values[k], format);
        const bool fits = isnan(values[k]) || to_format(values[k], format) == values[k];
        if (!fits) fail("%.17g is no %s", values[k], format->name);
    }
    return values;
}

static double *along_x(const char *object, const char *key, const struct batch_norm *b, const struct format *format)
{
    const char *tensor = find(object, key);
    return tensor ? values_of(tensor, b, true, format) : allocate(b->size, sizeof(double));
}

static double *per_channel(const char *object, const char *key, const struct batch_norm *b, double absent,
                           const struct format *format)
{
    const char *tensor = find(object, key);  /* null, or not there: the operation does without */
    if (tensor && *tensor != 'n') return values_of(tensor, b, false, format);
    double *values = allocate(b->channels, sizeof *values);
    for (long c = 0; c < b->channels; c++) values[c] = absent;
    return values;
}

/* The exact number lies in value -+ bound, and rounding is monotone: so the expected one, correctly rounded, lies
   between the rounded ends. In a narrow format both are one number, but where a tie is only a few u64 away. */
static void compare(const char *expected, const char *name, const struct batch_norm *b, struct formats formats)
{
    const char *object = get(expected, name, "{");
    const bool like_x = is_like_x(name), sampled = find(object, "at");
    const struct format *format = like_x ? formats.x : formats.parameters;
    const bool narrow = format->digits < 53;
    const bool by_shard = strncmp(name, "shard_", 6) == 0;
    const long size = by_shard ? size_by_shard(object, b) : size_of(object, b, like_x);
    const long count = sampled ? length(object, "at") : size;
    const double *data = list(object, "data", count), *at = sampled ? list(object, "at", count) : NULL;
    const double *rest = narrow ? NULL : list(object, "rest", count);  /* of the exact number, which is data + rest */
    if (count == 0) fail("%s has no numbers", name);
    for (long j = 0; j < count; j++) {
        const double k = at ? at[j] : (double)j;
        if (!(k >= 0 && k < (double)size)) fail("%s has no element %g", name, k);
        const near own = result(b, name, (long)k);
        const double bound = own.bound + U * fabs(own.value);  /* the ends are rounded themselves */
        const double low = to_format(own.value - bound, format), high = to_format(own.value + bound, format);
        if (!(isfinite(bound) && low <= data[j] && data[j] <= high && to_format(data[j], format) == data[j]))
            fail("%s[%g] is %.17g; own value %.17g, off by %.1e at most", name, k, data[j], own.value, bound);
        if (rest && data[j] + rest[j] != data[j]) fail("%s[%g]: %g is no rest of %.17g", name, k, rest[j], data[j]);
        numbers[narrow]++;
        equal[narrow] += to_format(own.value, format) == data[j];
    }
}

static void compare_all(const char *expected, const char *operation, const struct batch_norm *b, struct formats formats)
{
    int row = 0;
    while (row < OPERATIONS && !is(operation, RESULTS[row][0])) row++;
    if (row == OPERATIONS) fail("an unknown operation");
    for (int j = 1; RESULTS[row][j]; j++) compare(expected, RESULTS[row][j], b, formats);
}

/* NaN and inf in x or dy show in the channels that the case names, in one result at least, and in no other channel. */
static void check_channels(const char *object, const struct batch_norm *b)
{
    bool *finite = allocate(b->channels, sizeof *finite);
    for (long c = 0; c < b->channels; c++)
        finite[c] = isfinite(b->of[c].mean.value + b->of[c].var.value + b->of[c].dgamma.value + b->of[c].dbeta.value);
    for (long k = 0; k < b->size; k++)
        if (!isfinite(y(b, k).value + dx(b, k).value)) finite[channel(b, k) - b->of] = false;
    for (long c = 0; c < b->channels; c++)
        if (holds(object, "finite_channels", c) != finite[c] || holds(object, "non_finite_channels", c) == finite[c])
            fail("channel %ld is %sfinite, and not named so", c, finite[c] ? "" : "not ");
}

static struct batch_norm layout(const char *object)
{
    struct batch_norm b = {.rank = length(object, "shape"), .positions = 1, .size = 1};
    const double *shape = list(object, "shape", b.rank);
    if (b.rank < 2 || b.rank > 5) fail("%ld axes", b.rank);
    for (long a = 0; a < b.rank; a++) {
        if (!(shape[a] >= (a > 0) && (double)b.size * shape[a] < 1e8)) fail("an axis of %g", shape[a]);
        b.size *= b.shape[a] = (long)shape[a];
        if (a > 1) b.positions *= b.shape[a];
    }
    b.channels = b.shape[1];
    b.of = allocate(b.channels, sizeof *b.of);
    return b;
}

static void check_case(const char *object, const char *operation, const struct format *format)
{
    const bool errors = is(operation, "errors");
    if (errors) operation = get(object, "operation", "\"");
    const struct formats formats = {format, errors ? format : format_of(object, "parameters")};
    struct batch_norm b = layout(object);
    b.frozen = is(operation, "inference") || strncmp(operation, "\"frozen", 7) == 0;
    b.twice = is(operation, "double_backward") || is(operation, "frozen_double_backward");
    b.dy = along_x(object, "dy", &b, formats.x);
    b.ddx = along_x(object, b.twice ? "ddx" : "dx", &b, formats.x);
    const double *gamma = per_channel(object, "gamma", &b, 1, formats.parameters);
    const double *beta = per_channel(object, "beta", &b, 0, formats.parameters);
    const double *ddgamma = per_channel(object, b.twice ? "ddgamma" : "dgamma", &b, 0, formats.parameters);
    const double *ddbeta = per_channel(object, b.twice ? "ddbeta" : "dbeta", &b, 0, formats.parameters);
    const double *running_mean = per_channel(object, "running_mean", &b, 0, formats.parameters);
    const double *running_var = per_channel(object, "running_var", &b, 1, formats.parameters);
    for (long c = 0; c < b.channels; c++) {
        const near old_mean = exact(running_mean[c]), old_var = exact(running_var[c]);
        b.of[c] = (struct channel){.gamma = gamma[c], .beta = beta[c], .centre = running_mean[c], .mean = old_mean,
            .var = old_var, .running_mean = old_mean, .running_var = {old_var, old_var},
            .count = (double)(b.shape[0] * b.positions), .ddgamma = ddgamma[c], .ddbeta = ddbeta[c]};
    }
    if (is(operation, "running")) {
        const double momentum = number(object, "momentum");
        for (const char *batch = first(get(object, "batches", "[")); batch; batch = following(batch)) {
            b.x = values_of(batch, &b, true, formats.x);
            take_moments(&b, 0, b.size);
            update_running(&b, momentum);
        }
    } else {
        const near eps = exact(number(object, "eps"));
        b.x = values_of(get(object, "x", "{"), &b, true, formats.x);
        if (find(object, "where")) b.where = values_of(get(object, "where", "{"), &b, true, formats.x);
        if (find(object, "shards")) {
            b.shards = length(object, "shards");
            b.samples = list(object, "shards", b.shards);
            b.of_shard = allocate(b.shards * b.channels, sizeof *b.of_shard);
            merge_shards(&b);
        } else if (!b.frozen) {
            take_moments(&b, 0, b.size);
        }
        for (long c = 0; c < b.channels; c++) b.of[c].inv_std = inverse_root(plus(b.of[c].var, eps));
        take_gradients(&b);
        take_second_order(&b);
    }
    if (errors && find(object, "accepted")) policies++;
    else if (errors) check_channels(object, &b);
    else compare_all(get(object, "expected", "{"), operation, &b, formats);
}

static void check_file(const char *document, double wanted)
{
    const char *operation = get(document, "operation", "\"");
    const struct format *format = format_of(document, "dtype");
    long found = 0;
    for (const char *p = first(get(document, "cases", "[")); p; p = following(p), found++) {
        id = string(get(p, "id", "\""));
        check_case(p, operation, format);
    }
    id = "";
    if (found == 0 || (double)found != wanted) fail("%ld cases, MANIFEST.json says %.0f", found, wanted);
    cases += found;
}

int main(int count, char **arguments)
{
    long size;
    if (count != 2) fail("usage: consumer DATA_DIR");
    const char *manifest = text_of(arguments[1], "MANIFEST.json", &size);
    manifest = document(manifest, size);
    for (const char *p = first(get(manifest, "files", "{")); p; p = following(past(skip(p), ':'))) {
        const char *entry = past(skip(p), ':'), *text = text_of(arguments[1], string(p), &size);
        if ((double)size != number(entry, "bytes")) fail("%ld bytes, not as MANIFEST.json says", size);
        if (strncmp(file, "bn.", 3) == 0) check_file(document(text, size), number(entry, "cases"));
    }
    file = "MANIFEST.json";
    if (cases == 0 || (double)cases != number(manifest, "total_cases")) fail("not the %ld cases of its files", cases);
    double share[2];
    for (int k = 0; k < 2; k++) share[k] = 100 * (double)equal[k] / (double)numbers[k];
    printf("consumer.c: %ld cases, %ld numbers, bit-equal: %.2f %% of float64, %.2f %% of the narrower; "
           "%ld policies not judged\n", cases, numbers[0] + numbers[1], share[0], share[1], policies);
    return 0;
}
