/* From inputs to pooled potentials for one accumulator type. The includer defines ACC, WIDTH,
 * HELPER(op) and COUNT. Fills in the counters of what came in. */

static const ACC *HELPER(integrate)(const knsoc_plan *plan, const knsoc_op *op,
                                    const uint8_t *inputs, int form, int64_t *counters)
{
    const knsoc_row *row = plan->row;
    const knsoc_conv *conv = &op->conv;
    const int64_t positions = (int64_t)conv->x.length * conv->y.length;
    const int64_t outputs = (int64_t)conv->x.output * conv->y.output;
    ACC *potentials = plan->potentials;

    /* Counted in both forms, so that the counters cannot depend on the form. */
    int64_t pairs;
    const int64_t events = knsoc_u8_count_pairs(inputs, conv->x.length, conv->y.length,
                                                conv->channels, op->fan_out_x, op->fan_out_y, &pairs);
    counters[KNSOC_EVENTS_IN] = events;
    counters[KNSOC_SYNAPTIC_OPS] = pairs * conv->neurons;

    knsoc_events list = plan->events;
    const int by_events = prefers_events(form, events, positions * conv->channels,
                                         op->kind == KNSOC_SEPARABLE
                                             ? row->depthwise_events_below_16ths
                                             : row->events_below_16ths);
    if (by_events)
        knsoc_u8_list(inputs, positions, conv->channels, &list);

    if (op->kind == KNSOC_CONV) {
        if (by_events)
            row->WIDTH->conv_events(conv, &list, potentials);
        else
            row->WIDTH->conv_dense(conv, inputs, potentials);
    } else if (op->kind == KNSOC_FULLY) {
        if (by_events)
            row->WIDTH->fully_events(conv->weights, conv->channels, conv->neurons, &list, potentials);
        else
            row->WIDTH->fully_dense(conv->weights, conv->channels, conv->neurons, inputs, potentials);
    } else {
        ACC *sums = plan->sums;
        const int64_t size = outputs * conv->channels;
        if (by_events)
            row->WIDTH->depthwise_events(conv, &list, sums);
        else
            row->WIDTH->depthwise_dense(conv, inputs, sums);
        const int64_t reached = COUNT(sums, size);
        counters[KNSOC_SYNAPTIC_OPS] = pairs + reached * conv->neurons;
        if (prefers_events(form, reached, size, row->events_below_16ths))
            row->WIDTH->pointwise_events(op->pointwise_cn, outputs, conv->channels, conv->neurons,
                                        sums, potentials);
        else
            row->WIDTH->pointwise_dense(op->pointwise_cn, outputs, conv->channels, conv->neurons,
                                       sums, potentials);
    }
    if (op->pooling == KNSOC_POOL_NONE)
        return potentials;
    if (op->pooling == KNSOC_POOL_MAX)
        row->WIDTH->pool_max(&op->pool_x, &op->pool_y, conv->neurons, potentials, plan->pooled);
    else
        row->WIDTH->pool_sum(&op->pool_x, &op->pool_y, conv->neurons, potentials, plan->pooled);
    return plan->pooled;
}
