/* A data race on purpose: two threads that call this at a time must be reported, see tsan.py. */
long race_total;

void race_add(long count)
{
    for (volatile long i = 0; i < count; i++)
        race_total += i;
}
