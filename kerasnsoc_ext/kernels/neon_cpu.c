/* What the ARM CPU at hand can do beyond its baseline. */
#include "neon.h"

#ifdef KNSOC_NEON

#if defined(__linux__)
#include <sys/auxv.h>

/* bits of the kernel's interface; old C libraries do not name them */
#define DOTPROD_IN_HWCAP (1ul << 20)
#define I8MM_IN_HWCAP2 (1ul << 13)

int knsoc_has_dotprod(void)
{
    return (getauxval(AT_HWCAP) & DOTPROD_IN_HWCAP) != 0;
}

int knsoc_has_i8mm(void)
{
    return knsoc_has_dotprod() && (getauxval(AT_HWCAP2) & I8MM_IN_HWCAP2) != 0;
}

#elif defined(__APPLE__)
#include <sys/sysctl.h>

static int has(const char *feature)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(feature, &value, &size, 0, 0) == 0 && value != 0;
}

int knsoc_has_dotprod(void)
{
#ifdef __ARM_FEATURE_DOTPROD
    return 1; /* the whole build counts on it, as every Mac with such a CPU has it */
#else
    return has("hw.optional.arm.FEAT_DotProd");
#endif
}

int knsoc_has_i8mm(void)
{
    return knsoc_has_dotprod() && has("hw.optional.arm.FEAT_I8MM");
}

#else /* nobody to ask: only what the build itself counts on */

int knsoc_has_dotprod(void)
{
#ifdef __ARM_FEATURE_DOTPROD
    return 1;
#else
    return 0;
#endif
}

int knsoc_has_i8mm(void)
{
#if defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
    return 1;
#else
    return 0;
#endif
}
#endif

#endif
