import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from diffjax.augment import Ada, DiffAugment, NoAugment
from diffjax.augment.ada import CUTOUT_SIZE, DRAWS, SHARES
from diffjax.augment.diff_augment import color, cutout, translation
from diffjax.augment.draws import Draws
from diffjax.augment.warp import warp
from diffjax.errors import UserError

moved_by = jax.jit(warp)
OFF = dict.fromkeys(SHARES, 0.0)
ALL = Ada(cutout=1.0)
KEYS = jax.random.split(jax.random.key(0), 4000)
UNITS = jax.random.uniform(jax.random.key(1), (2000, 3))
ada, diff_augment = jax.jit(ALL), jax.jit(DiffAugment())  # compiled once for many tests
BOTH = pytest.mark.parametrize("augment", [ada, diff_augment], ids=["ada", "diff_augment"])


def images(n=6, h=8, w=8, c=3, dtype=jnp.float32):
    return jax.random.uniform(jax.random.key(h * w), (n, h, w, c), dtype, -1, 1)


def changed(x, y):
    """Which images differ."""
    return np.any(np.asarray(x != y), axis=(1, 2, 3))


def within_chance(share, expected, n):
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / n), (share, expected)


@pytest.mark.parametrize("like", [(6, 8, 8, 3, "float32"), (3, 4, 4, 1, "bfloat16")])
@pytest.mark.parametrize("augment", [ada, diff_augment, NoAugment()], ids=["ada", "diff_augment", "none"])
def test_at_zero_nothing_happens_to_the_bit(augment, like):
    x = images(*like)
    y = augment(x, KEYS[: len(x)], 0.0)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x)


def test_an_image_whose_coins_all_fall_on_tails_comes_back_to_the_bit_and_others_do_not():
    n = 64
    x = images(n)
    y = ada(x, KEYS[:n], 0.1)
    same = ~changed(x, y)
    shares = {**dict.fromkeys(DRAWS, 0.1), "rotate": 1 - 0.9**0.5, "rotate after": 1 - 0.9**0.5}

    @jax.vmap
    def heads(key):
        return jnp.any(jnp.stack([Draws.of(key, DRAWS).coin(name, share) for name, share in shares.items()]))

    tails = ~np.asarray(jax.jit(heads)(KEYS[:n]))
    assert sum(tails) > 5
    assert all(same[i] for i in range(n) if tails[i])
    assert 2 * sum(tails) > sum(same)  # heads can still draw an x-flip, a turn or a shift of nothing


@BOTH
def test_what_happens_to_an_image_depends_on_its_key_alone(augment):
    x = images(6)
    together = augment(x, KEYS[:6], 0.7)
    order = np.array([3, 0, 5, 5, 1, 1])
    np.testing.assert_allclose(augment(x[order], KEYS[order], 0.7), together[order], atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4, 1), (5, 8, 3)])
@BOTH
def test_small_oblong_and_grey_images_stay_finite_and_keep_their_shape(augment, shape):
    x = images(3, *shape, dtype="bfloat16")
    y = augment(x, KEYS[:3], 1.0)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.isfinite(np.float32(y)).all()


def test_a_key_means_the_same_in_every_format(x64):
    x = images(6, dtype="float64")
    wide, narrow = (ada(x.astype(dtype), KEYS[:6], 0.9) for dtype in ("float64", "float32"))
    assert wide.dtype == "float64"
    np.testing.assert_allclose(wide, narrow, atol=2e-5)


def test_the_pipeline_does_what_its_draws_say_in_the_papers_order(x64):
    n, size = 8, 8
    x = np.asarray(images(n, dtype="float64"))
    found = ada(jnp.asarray(x), KEYS[:n], 1.0)
    for i in range(n):
        draws = Draws.of(KEYS[i], DRAWS)
        u = {name: np.float64(draws.values(name)) for name in DRAWS}
        normal = {name: norm.ppf(value) for name, value in u.items()}
        y = x[i][:, ::-1] if u["xflip"][0] >= 0.5 else x[i]
        y = np.rot90(y, int(4 * u["rotate90"][0]))
        right, down = np.round((2 * u["xint"][:2] - 1) / 8 * size).astype(int)
        y = np.roll(np.pad(y, ((2, 2), (2, 2), (0, 0)), "reflect"), (down, right), (0, 1))[2:-2, 2:-2]

        angles = [np.pi * (2 * u[name][0] - 1) for name in ("rotate", "rotate after")]
        before, after = (np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in angles)
        aspect = np.exp2(0.2 * normal["aniso"][0] * np.array([1, -1]))
        inverse = np.eye(3)
        inverse[:2, :2] = np.linalg.inv(after @ np.diag(aspect) @ before * np.exp2(0.2 * normal["scale"][0]))
        inverse[:2, 2] = -inverse[:2, :2] @ (normal["xfrac"][:2] * size / 8)
        y = np.asarray(moved_by(y, inverse))

        y = (y + 0.2 * normal["brightness"][0]) * np.exp2(0.5 * normal["contrast"][0])
        grey = np.full((3, 3), 1 / 3)
        y = y @ (np.eye(3) - 2 * grey * (u["lumaflip"][0] >= 0.5))
        y = y @ Rotation.from_rotvec(np.pi * (2 * u["hue"][0] - 1) * np.ones(3) / np.sqrt(3)).as_matrix().T
        y = y @ (grey + (np.eye(3) - grey) * np.exp2(normal["saturation"][0]))

        at = (np.arange(size) + 0.5) / size
        column, row = (abs(at - centre) < 0.25 for centre in u["cutout"][:2])
        np.testing.assert_allclose(found[i], np.where(np.outer(row, column)[..., None], 0, y), atol=3e-5)


def test_flips_turns_shifts_and_boxes_happen_as_often_as_the_paper_says():
    n, p = 4000, 0.6
    x = jnp.broadcast_to(images(1, 8, 8, 1), (n, 8, 8, 1))

    def of(name):
        return jax.jit(Ada(**{**OFF, name: 1.0}))(x, KEYS, p)

    flipped = of("xflip")
    moved = changed(flipped, x)
    np.testing.assert_array_equal(flipped[moved], x[moved][:, :, ::-1])
    within_chance(moved.mean(), p / 2, n)

    turned = of("rotate90")
    for k in (1, 2, 3):
        within_chance(1 - changed(turned, jnp.rot90(x, k, (1, 2))).mean(), p / 4, n)
    within_chance(changed(turned, x).mean(), p * 3 / 4, n)

    within_chance(changed(of("lumaflip"), x).mean(), p / 2, n)
    # an eighth of 8 is one pixel: round(uniform(-1, 1)) moves it each way with probability 1/4
    within_chance(1 - changed(of("xint"), x).mean(), 1 - p * (1 - 1 / 4), n)

    cut = of("cutout")
    moved = changed(cut, x)
    within_chance(moved.mean(), p, n)
    gone = np.asarray(cut == 0)[..., 0]
    assert set(np.unique(gone.sum((1, 2)))) <= {0, 4, 6, 8, 9, 12, 16}  # 2 to 4 pixels a side, cut off at the border
    within_chance(gone[:, 3, 3].mean(), p * CUTOUT_SIZE**2, n)  # far enough from the border to see all centres


def test_warps_and_colours_happen_as_often_as_the_paper_says():
    n, p, share = 2000, 0.4, 0.5
    x = images(1, 4, 4, 3)[0]
    stages = {name: Ada(**{**OFF, name: share}).move for name in ("scale", "rotate", "aniso", "xfrac")}
    stages |= {name: Ada(**{**OFF, name: share}).paint for name in ("brightness", "contrast", "hue", "saturation")}

    @jax.vmap
    def moved(key):
        draws = Draws.of(key, DRAWS)
        return {name: jnp.any(stage(x, draws, p) != x) for name, stage in stages.items()}

    for happened in jax.jit(moved)(KEYS[:n]).values():
        within_chance(happened.mean(), share * p, n)  # a rotation before or after: 1 - (1 - p_rot)^2 = share p


def test_a_key_draws_normals_uniforms_and_integers():
    @jax.vmap
    def draw(key):
        draws = Draws.of(key, ("b", "a"))
        return draws.normal("a", 1.0)[0], draws.uniform("a", 1.0)[0], draws.integer("a", 1.0, 4), draws.coin("a", 0.3)

    normal, uniform, integer, coin = map(np.asarray, jax.jit(draw)(KEYS))
    assert abs(normal.mean()) < 4 / np.sqrt(4000) and abs(normal.var() - 1) < 4 * np.sqrt(2 / 4000)
    assert uniform.min() >= -1 and uniform.max() < 1 and abs(uniform.mean()) < 4 / np.sqrt(3 * 4000)
    for value in range(4):
        within_chance((integer == value).mean(), 0.25, 4000)
    within_chance(coin.mean(), 0.3, 4000)
    assert abs(np.corrcoef(coin, uniform)[0, 1]) < 4 / np.sqrt(4000)


def test_switching_one_transformation_off_leaves_the_draws_of_the_others():
    """Flips commute with colours: with or without them, the colours are the same."""
    x = images(16)
    only, both = Ada(**{**OFF, "hue": 1.0}), Ada(**{**OFF, "hue": 1.0, "xflip": 1.0})
    plain, flipped = (jax.jit(augment)(x, KEYS[:16], 1.0) for augment in (only, both))
    either = jnp.minimum(abs(plain - flipped), abs(plain - flipped[:, :, ::-1]).max((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(either.max(), 0, atol=1e-6)


@BOTH
def test_the_augmentation_is_affine_in_the_image_and_its_gradient_is_the_adjoint(augment, x64):
    x, y = images(4, dtype="float64"), images(4, dtype="float64")[::-1]

    def at(x):
        return augment(x, KEYS[:4], 0.8)

    @jax.jit
    def products(x, y):
        still, back = jax.vjp(at, jnp.zeros_like(x))
        return jnp.vdot(at(x) - still, y), jnp.vdot(x, back(y)[0])

    np.testing.assert_allclose(*products(x, y), rtol=1e-10)


@BOTH
def test_a_penalty_through_the_augmentation_has_the_gradient_of_finite_differences(augment, x64):
    """Of |grad_x sum f(augment(x))|^2, what R1 takes: the gradient with respect to the unaugmented images."""
    x = images(4, dtype="float64")
    w = jax.random.normal(jax.random.key(1), (3, 3, 3, 4), jnp.float64)
    direction = jax.random.normal(jax.random.key(2), w.shape, w.dtype)

    @jax.jit
    @jax.value_and_grad
    def penalty(w):
        def critic(x):
            y = augment(x, KEYS[:4], 0.8)
            y = jax.lax.conv_general_dilated(y, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return jnp.sum(jnp.tanh(y))

        return jnp.sum(jax.grad(critic)(x) ** 2)

    step = 1e-6
    numeric = (penalty(w + step * direction)[0] - penalty(w - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(penalty(w)[1], direction), numeric, rtol=1e-7)


def test_colour_of_diff_augment_spans_the_papers_ranges(x64):
    x = images(1, dtype="float64")[0]
    y = np.asarray(jax.jit(jax.vmap(color, (None, 0)))(x, UNITS))
    x = np.asarray(x)
    mean = y.mean((1, 2, 3))
    assert abs(mean - x.mean()).max() <= 0.5 and np.ptp(mean) > 0.99
    spread = (y.mean(-1) - mean[:, None, None]).std((1, 2)) / x.mean(-1).std()
    assert 0.5 <= spread.min() < 0.51 and 1.49 < spread.max() <= 1.5
    chroma = (y - y.mean(-1, keepdims=True)).std((1, 2, 3)) / (x - x.mean(-1, keepdims=True)).std() / spread
    assert 0 <= chroma.min() < 0.01 and 1.99 < chroma.max() <= 2
    grey = x[..., :1]
    np.testing.assert_allclose(jax.jit(color)(grey, UNITS[0]).std() / grey.std(), spread[0], rtol=1e-12)


@pytest.mark.parametrize(("side", "most"), [(8, 1), (14, 2), (15, 2), (16, 2), (28, 4)])
def test_translation_of_diff_augment_is_by_an_eighth_at_most_and_brings_in_zeros(side, most):
    """The authors' code rounds: int(side * 0.125 + 0.5)."""
    x = images(1, side, side, 1)[0]
    padded, places = np.pad(x, ((most, most), (most, most), (0, 0))), 2 * most + 1
    every = np.stack([padded[i : i + side, j : j + side] for i in range(places) for j in range(places)])
    y = np.asarray(jax.jit(jax.vmap(translation, (None, 0)))(x, UNITS))
    which = np.stack([np.all(y == one, axis=(1, 2, 3)) for one in every], axis=1)
    assert np.all(which.sum(1) == 1)
    for share in which.mean(0):
        within_chance(share, 1 / places**2, len(UNITS))


def test_cutout_of_diff_augment_is_a_box_of_half_the_side():
    gone = np.asarray(jax.jit(jax.vmap(cutout, (None, 0)))(jnp.ones((8, 12, 1)), UNITS) == 0)[..., 0]
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    np.testing.assert_array_equal(gone.sum((1, 2)), rows * columns)  # a box
    assert (rows.max(), columns.max()) == (4, 6)
    within_chance((rows == 4).mean(), 5 / 9, len(UNITS))  # 9 places for a box of 4 in a row of 8, 4 of them cut off


@pytest.mark.parametrize(("side", "box", "places"), [(14, 7, 14), (15, 8, 16), (28, 14, 29), (5, 3, 5)])
def test_its_box_is_the_authors_at_any_side(side, box, places):
    """int(side * 0.5 + 0.5) pixels from offset - box // 2 on, offset uniform in 0 .. side - box % 2."""
    gone = np.asarray(jax.jit(jax.vmap(cutout, (None, 0)))(jnp.ones((side, 4, 1)), UNITS) == 0)[..., 0].any(2)
    expected = np.zeros((places, side), bool)
    for offset in range(places):
        expected[offset, np.clip(np.arange(box) + offset - box // 2, 0, side - 1)] = True
    seen, counts = np.unique(gone, axis=0, return_counts=True)
    np.testing.assert_array_equal(seen, np.unique(expected, axis=0))
    for count in counts:
        within_chance(count / len(UNITS), 1 / places, len(UNITS))


def test_diff_augment_applies_the_words_of_its_policy_only():
    x = images(8)
    np.testing.assert_array_equal(jax.jit(DiffAugment(policy=()))(x, KEYS[:8], 1.0), x)
    y = jax.jit(DiffAugment(policy=("cutout",)))(x, KEYS[:8], 1.0)
    assert np.all((np.asarray(y) == 0) | (np.asarray(y == x)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffAugment(policy=("colour",)), r"augment.policy: 'colour' is not one of color, translation, cutout"),
        (lambda: Ada(hue=2.0), r"augment.hue: 2.0 must be between 0 and 1"),
        (lambda: Ada(every=0), r"augment.every: 0 must be at least 1 update"),
        (lambda: Ada(images=0.0), r"augment.images: 0.0 must be positive"),
        (lambda: Ada(ramp_images=1e6), r"augment.ramp_images: 1000000.0 must be 0 while p adapts; set augment.target"),
        (lambda: Ada()(jnp.zeros((2, 2)), KEYS[:2], 1.0), r"method.augment: must be none for examples of shape \(2,\)"),
        (lambda: Ada()(jnp.zeros((2, 3, 9, 1)), KEYS[:2], 1.0), r"must be none for examples of shape \(3, 9, 1\)"),
    ],
)
def test_what_a_user_got_wrong_is_said_in_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()
