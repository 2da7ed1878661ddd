"""Small files made to the published layouts of sensors' products."""

import h5py
import numpy as np
import rasterio
import xarray

PRISMA_WAVELENGTHS = {  # nm, descending, of a product of 2020; 0: not measured
    "Vnir": [0.0, 0.0, 972.65137, 962.2815, 951.3803, 939.87714, 929.4021, 919.1934],
    "Swir": [1008.17413, 998.38153, 988.4178, 978.74365, 969.39557, 959.5276, 951.01624, 0.0],
}


def write_prisma(path, vnir, swir, level="L2D", *, wavelengths=None, flags=None, **changes):
    """Writes cubes `[rows, bands, columns]`, uint16; an attribute that becomes None is left out."""
    wavelengths = PRISMA_WAVELENGTHS if wavelengths is None else wavelengths
    rows, _, columns = (vnir if vnir is not None else swir).shape
    attributes = {
        "Product_ID": b"PRS_L2D_STD",
        "Processing_Level": level.encode(),
        "Sun_zenith_angle": np.float32(31.5),
        "Epsg_Code": np.uint64(32632),
        "Product_ULcorner_easting": 5e5,
        "Product_ULcorner_northing": 4.6e6,
        "Product_LRcorner_easting": 5e5 + 30 * (columns - 1),
        "Product_LRcorner_northing": 4.6e6 - 30 * (rows - 1),
        "Product_center_lat": np.float32(41.5),
    }
    for name, low, high in (("Vnir", 0.0, 1.2), ("Swir", 0.001, 0.9)):
        waves = np.asarray(wavelengths[name], np.float32)
        attributes[f"List_Cw_{name}"] = waves
        attributes[f"List_Fwhm_{name}"] = np.where(waves > 0, 10 + waves / 1000, 0)
        given = (waves > 0).astype("u1") if flags is None else flags[name]
        attributes[f"List_Cw_{name}_Flags"] = np.asarray(given, "u1")
        if level == "L1":
            attributes |= {f"ScaleFactor_{name}": np.float32(100), f"Offset_{name}": np.float32(0)}
        else:
            attributes |= {f"L2Scale{name}Min": np.float32(low)}
            attributes |= {f"L2Scale{name}Max": np.float32(high)}
    attributes |= changes
    y, x = np.mgrid[:rows, :columns]
    angles = {"Latitude": 41.5 - 3e-4 * y + 1e-5 * x, "Longitude": 12.5 + 4e-4 * x + 1e-5 * y}
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            if value is not None:
                file.attrs[name] = value
        swath = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_HCO")
        for name, cube in (("VNIR", vnir), ("SWIR", swir)):
            if cube is not None:
                swath[f"Data Fields/{name}_Cube"] = cube
            for angle, values in angles.items():
                end = f"_{name}" if level == "L1" else ""
                if f"Geolocation Fields/{angle}{end}" not in swath:
                    swath[f"Geolocation Fields/{angle}{end}"] = values.astype("f4")
        file[f"HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields/Cube"] = np.zeros((6, 6), "u2")
    return path


def dlr_xml(mission, bands, expected=None, **columns):
    """The XML of a product with as many bands; `expected` are channels, counted from 1."""
    k = np.arange(bands)
    columns = {"wavelength": 401 + 2.5 * k, "fwhm": 3.5 + 0 * k, "gain": 1e-4 + 0 * k,
               "offset": 0.0 * k} | columns  # fmt: skip
    names = ("wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand", "OffsetOfBand")
    if mission == "DESIS":
        names = ("wavelengthCenterOfBand", "wavelengthWidthOfBand", "gainOfBand", "offsetOfBand")
    lines = []
    for n, values in enumerate(zip(*columns.values(), strict=True)):
        inner = "".join(f"<{a}>{float(b)!r}</{a}>" for a, b in zip(names, values, strict=True))
        if mission == "DESIS":
            lines.append(f"<band><bandNumber>{n + 1}</bandNumber>{inner}</band>")
        else:
            lines.append(f'<bandID number="{n + 1}">{inner}</bandID>')
    part = "bandCharacterization" if mission == "DESIS" else "bandCharacterisation"
    quality = ""
    if expected is not None and mission == "EnMAP":
        middle = sorted(expected)[: len(expected) // 2], sorted(expected)[len(expected) // 2 :]
        for detector, channels in zip(("vnir", "swir"), middle, strict=True):
            listed = ",".join(map(str, channels))
            quality += (
                f"<{detector}ProductQuality><expectedChannelsList>{listed}</expectedChannelsList>"
                f"</{detector}ProductQuality>"
            )
    return (
        "<level_X><base><level>L2A</level></base><product><bandStatistics>"
        '<bandID number="1"><mean>1</mean></bandID></bandStatistics></product><specific>'
        f"<backgroundValue>-32768</backgroundValue><{part}>{''.join(lines)}</{part}>{quality}"
        "</specific></level_X>"
    )


def write_dlr(folder, cube, mission, **described):
    """Writes a product of EnMAP or DESIS; gives the path of its image."""
    names = {
        "EnMAP": ("ENMAP01-____L2A-DT1_V1", ".TIF", ".XML"),
        "DESIS": ("DESIS-HSI-L2A-DT1", ".tif", ".xml"),
    }
    stem, image, described_by = names[mission]
    path = folder / f"{stem}-SPECTRAL_IMAGE{image}"
    profile = {"driver": "GTiff", "count": cube.shape[2], "dtype": "int16"}
    profile |= {"height": cube.shape[0], "width": cube.shape[1], "interleave": "pixel"}
    place = rasterio.Affine(30, 0, 4e5, 0, -30, 5e6)
    crs = rasterio.crs.CRS.from_epsg(32633)
    with rasterio.open(path, "w", crs=crs, transform=place, **profile) as dataset:
        dataset.write(cube.transpose(2, 0, 1))
    xml = dlr_xml(mission, cube.shape[2], **described)
    (folder / f"{stem}-METADATA{described_by}").write_text(xml)
    return path


def write_emit(path, shape, name="reflectance", good=None):
    """Writes a swath of EMIT; gives its path, cube, latitude and longitude, one of them unknown."""
    rng = np.random.default_rng(0)
    cube = rng.random(shape, np.float32)
    cube[0, 0] = -9999
    y, x = np.mgrid[: shape[0], : shape[1]]
    latitude, longitude = 34.5 - 5e-4 * y, -117.5 + 6e-4 * x + 1e-4 * y
    latitude[1, 1] = -9999
    swath = ("downtrack", "crosstrack")
    crs = rasterio.crs.CRS.from_epsg(4326).to_wkt()
    root = xarray.Dataset(
        {name: ((*swath, "bands"), cube, {"_FillValue": np.float32(-9999)})},
        attrs={
            "title": "EMIT L2A",
            "spatial_ref": crs,
            "geotransform": [-117.6, 5e-4, 0, 34.6, 0, -5e-4],
        },
    )
    waves = (381 + 7.4 * np.arange(shape[2])).astype("f4")
    parameters = xarray.Dataset({
        "wavelengths": ("bands", waves, {"units": "nm"}),
        "fwhm": ("bands", np.full(shape[2], 8.4, "f4"), {"units": "nm"}),
    })  # fmt: skip
    if good is not None:
        parameters["good_wavelengths"] = ("bands", np.asarray(good, "f4"))
    table = rng.integers(0, 3, (shape[0] + 2, shape[1] + 3)).astype("i4")
    location = xarray.Dataset({
        "lat": (swath, latitude, {"_FillValue": -9999.0, "units": "degrees north"}),
        "lon": (swath, longitude, {"_FillValue": -9999.0, "units": "degrees east"}),
        "elev": (swath, 100.0 + y),
        "glt_x": (("ortho_y", "ortho_x"), table),
        "glt_y": (("ortho_y", "ortho_x"), table),
    })  # fmt: skip
    root.to_netcdf(path, engine="h5netcdf")
    parameters.to_netcdf(path, engine="h5netcdf", group="sensor_band_parameters", mode="a")
    location.to_netcdf(path, engine="h5netcdf", group="location", mode="a")
    return path, cube, latitude, longitude


def write_aviris_3(path, shape, *, orthorectified):
    """Writes AVIRIS-3's reflectance on a map, or its radiance as measured, with a lookup table."""
    rows, columns, bands = shape
    cube = np.random.default_rng(0).random(shape, np.float32)
    crs = rasterio.crs.CRS.from_epsg(32611).to_wkt()
    mapping = {"spatial_ref": crs, "crs_wkt": crs, "GeoTransform": "399998.0 4 0 5000002.0 0 -4"}
    root = xarray.Dataset({"transverse_mercator": ((), "", mapping)})
    dims, name = ("lines", "samples"), "radiance"
    if orthorectified:
        dims, name = ("northing", "easting"), "reflectance"
        northing, easting = 5e6 - 4.0 * np.arange(rows), 4e5 + 4.0 * np.arange(columns)
        root = root.assign_coords(northing=northing, easting=easting)
    else:
        y, x = np.mgrid[:rows, :columns]
        root["lat"], root["lon"] = (dims, 34 - 1e-5 * y), (dims, -118 + 1e-5 * x)
    group = xarray.Dataset({
        name: (("wavelength", *dims), cube.transpose(2, 0, 1), {"_FillValue": np.float32(-9999)}),
        "wavelength": ("wavelength", (390 + 7.4 * np.arange(bands)).astype("f4"), {"units": "nm"}),
        "fwhm": ("wavelength", np.full(bands, 8.5, "f4")),
    })  # fmt: skip
    if orthorectified:
        group[name].attrs["grid_mapping"] = "transverse_mercator"
    root.to_netcdf(path, engine="h5netcdf")
    group.to_netcdf(path, engine="h5netcdf", group=name, mode="a")
    return path, cube


def write_aviris_ng(folder, shape):
    """Writes AVIRIS-NG's orthocorrected reflectance; gives header, raw file and cube."""
    rows, columns, bands = shape
    cube = np.random.default_rng(0).random(shape, np.float32)
    raw = folder / "ang20180814t224053_rfl_v2r2_img"
    raw.write_bytes(cube.transpose(0, 2, 1).astype("<f4").tobytes())
    waves = ", ".join(f"{376.86 + 5.01 * k:.2f}" for k in range(bands))
    header = raw.with_name(raw.name + ".hdr")
    header.write_text(
        f"ENVI\ndescription = {{\n  AVIRIS-NG reflectance}}\nsamples = {columns}\nlines = {rows}\n"
        f"bands = {bands}\nheader offset = 0\nfile type = ENVI Standard\ndata type = 4\n"
        "interleave = bil\nbyte order = 0\nmap info = { UTM , 1.000 , 1.000 , 552000.0 , 7112000.0 "
        ", 5.3 , 5.3 , 6 , North , WGS-84 , units=Meters , rotation=-55.00000000 }\n"
        f"wavelength units = Nanometers\nwavelength = {{ {waves} }}\n"
        f"fwhm = {{ {', '.join(['5.5'] * bands)} }}\ndata ignore value = -9999\n"
        "smoothing factors = { 1, 1, 1 }\n"
    )
    return header, raw, cube
